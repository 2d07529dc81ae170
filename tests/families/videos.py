"""Families with videos: prompts of videos alone, and of images and videos."""

import torch
from einops import rearrange
from families import crops, native, ragged, stand_ins, tiles
from families.tiny import BEGIN, END, IMAGE, VIDEO, Case, noise, padded, rows

# of each prompt, in order: (frames, height, width) in patches; an image has one frame
MIXED = [[("video", (3, 4, 6)), ("image", (1, 6, 10))], [("image", (1, 4, 4)), ("video", (2, 8, 4))]]
ALONE = [[("video", (3, 4, 6)), ("video", (2, 4, 4))], [("video", (2, 8, 4))]]
VIDEO_BEGIN, VIDEO_END = native.GLM_ENDS["video_start_token_id"], native.GLM_ENDS["video_end_token_id"]


def run(kind, grid):
    """All frames in one run of placeholders (Qwen2-VL)."""
    return [BEGIN, *[VIDEO if kind == "video" else IMAGE] * (grid[0] * grid[1] * grid[2] // 4), END]


def stamped(kind, grid):
    """A time before each frame, and markers around it (Qwen3-VL)."""
    if kind == "image":
        return run(kind, grid)
    frame = [BEGIN, *[VIDEO] * (grid[1] * grid[2] // 4), END]
    return [one for at in range(grid[0]) for one in (41 + at, *frame)]


def framed(kind, grid):
    """Markers around the video, and frames as images with a time after each (GLM-4V)."""
    frame = [BEGIN, *[IMAGE] * (grid[1] * grid[2] // 4), END]
    return [VIDEO_BEGIN, *[one for at in range(grid[0]) for one in (*frame, 41 + at)], VIDEO_END]


def patched(marks, scenes, **more):
    """Inputs of the Qwen-VL kind: patches of all images and of all videos, four of a token next to each other."""

    def inputs(model, which):
        call = padded(rows(which, scenes, lambda one: marks(*one)))
        kinds = (call["input_ids"] == IMAGE).long() + 2 * (call["input_ids"] == VIDEO).long()
        call["mm_token_type_ids"] = 2 * (kinds > 0) if marks is framed else kinds
        for name, pixels, sizes in (
            ("image", "pixel_values", "image_grid_thw"),
            ("video", "pixel_values_videos", "video_grid_thw"),
        ):
            every = [
                (100 * number + 10 * at, grid)
                for number in which
                for at, (kind, grid) in enumerate(scenes[number])
                if kind == name
            ]
            if every:
                call[sizes] = torch.tensor([grid for _, grid in every])
                call[pixels] = torch.cat([noise(t * h * w, 96, seed=seed) for seed, (t, h, w) in every])
        return {**call, **{name: torch.tensor([value] * len(call["video_grid_thw"])) for name, value in more.items()}}

    return inputs


def merged(call):
    """[P, pixels, 2] where each patch of a video lies in its frame."""
    parts = []
    for frames, height, width in call["video_grid_thw"].tolist():
        y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
        at = torch.stack(torch.broadcast_tensors(y[:, None], x[None]), -1)
        parts += [rearrange(at, "(h a) (w b) c -> (h w a b) 1 c", a=2, b=2)] * frames
    return torch.cat(parts).expand(-1, call["pixel_values_videos"].shape[1], -1)


def _patched(build, marks, scenes=MIXED, **more):
    return Case(build, patched(marks, scenes, **more), locate=merged, images=sum(map(len, scenes)))


FRAMES = 3  # of every video below
CROPPED = [["video", crops.FLAT], [crops.HIGH, "video"]]
WHOLE = [["video", "image"], ["image", "video", "video"]]


def stacked(scenes, side, room, *, ending=0, count_images=False):
    """Inputs with videos [V, F, 3, h, w]; a frame has ``room`` placeholders, and a video ``ending`` more."""

    def marks(one):
        if one == "video":
            return [VIDEO] * (FRAMES * room + ending)
        return [IMAGE] * (one.rows if isinstance(one, crops.Image) else 36)

    def inputs(model, which):
        call = padded(rows(which, scenes, marks))
        every = [(one, 100 * number + 10 * at) for number in which for at, one in enumerate(scenes[number])]
        videos = [noise(FRAMES, 3, side, side, seed=seed) for one, seed in every if one == "video"]
        call["pixel_values_videos"] = torch.stack(videos)
        pictures = [[one for one in scene if one != "video"] for scene in scenes]
        if any(isinstance(one, crops.Image) for one in pictures[0]):
            more = crops.packed(pictures, count_images=count_images)(model, which)
            return {**more, **call}
        images = [noise(3, side, side, seed=seed) for one, seed in every if one == "image"]
        return {**call, "pixel_values": torch.stack(images)}

    return inputs


def interpolated(model, call):
    """[R, S] how much of each row each patch is, from the model's own pooling; a video ends with a newline."""
    patches = crops.SIDE**2
    frame = model.model.apply_pooling(torch.eye(patches, dtype=torch.float64)[None])[0]  # [N, patches]
    videos = len(call["pixel_values_videos"])
    whole = torch.block_diag(*[frame] * (FRAMES * videos)).view(videos, -1, FRAMES * videos * patches)
    return torch.nn.functional.pad(whole, (0, 0, 0, 1)).flatten(0, 1)


STAMPED = (
    native.qwen3_vl,
    native.qwen3_vl_moe,
    native.qwen3_5,
    native.qwen3_5_moe,
    native.cohere_compass,
    native.cosmos3_omni,
    ragged.qwen4_exp,
)
FRAMED = (native.glm4v, native.glm46v, native.glm_ocr, native.glm4v_moe, ragged.glmga)
STACKED = {
    "llava_onevision": Case(
        crops.llava_onevision,
        stacked(CROPPED, crops.SIDE * crops.PATCH, 9, ending=1, count_images=True),
        images=4,
        shares=interpolated,
    ),
    "llava_next_video": Case(crops.llava_next_video, stacked(CROPPED, crops.SIDE * crops.PATCH, 4), images=4),
    "video_llava": Case(tiles.video_llava, tiles.old_pixels(stacked(WHOLE, 24, 37)), images=5),
    "perception_lm": Case(stand_ins.perception_lm, stand_ins.filmed, images=5),
}
CASES = {
    "qwen2_vl": _patched(native.qwen2_vl, run),
    "qwen2_5_vl": _patched(native.qwen2_5_vl, run, second_per_grid_ts=1.5),
    **{build.__name__: _patched(build, stamped) for build in STAMPED},
    **{build.__name__: _patched(build, framed, ALONE) for build in FRAMED},
    **STACKED,
}
