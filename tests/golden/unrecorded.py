"""Pipelines of published methods whose released code was not run, or is not there: what there is of it, and why."""

READ = "read, not run: nothing it chose is recorded"
UNRECORDED = {  # pipeline: (released code, its licence, why there is nothing to compare with)
    "adaptprune": ("bzluan/AdaptPrune", "Apache-2.0", f"{READ}; ours is its suppression step alone"),
    "agilepruner": ("none", "", "written from the paper's formula; no code was released"),
    "hiprune": ("Danielement321/HiPrune", "MIT", f"{READ}; its neighbours wrap around at the border of the map"),
    "holov": ("HoloV", "Apache-2.0", f"{READ}; it has 64 tokens built in"),
    "id_selection": ("none found", "", "written from the paper's idea; how scores fall is ours"),
    "llavolta": ("LLaVolta", "Apache-2.0", f"{READ}; what it pools with is a mean, which has one right answer"),
    "mmtok": ("MMTok", "Apache-2.0", READ),
    "prumerge": ("42Shawn/LLaVA-PruMerge", "Apache-2.0", f"{READ}; its tokens come by score, ours in their order"),
    "prumerge_plus": ("42Shawn/LLaVA-PruMerge", "Apache-2.0", f"{READ}; its count follows from the image, ours is set"),
    "scope": ("kinredon/SCOPE", "no licence file", READ),
    "sparsevlm_plus": (
        "Gumpest/SparseVLMs, version 2.0",
        "Apache-2.0",
        "not at hand; written from a description of it",
    ),
    "v2drop": ("xuyang-liu16/V2Drop", "Apache-2.0", READ),
    "visual_exit": ("lzhxmu/VTW", "not looked up", "no token is chosen: all leave"),
    "vflowopt": ("sihany077/VFlowOpt", "CC-BY-NC-4.0", f"{READ}; how its shares are found is not in ours"),
    "visiondrop": ("Ruixxxx/VisionDrop", "Apache-2.0", f"{READ}; what it merges by is VisionZip's, above"),
    "vmtc": ("none found", "", "written from the paper, which leaves the number of clusters open"),
    "vscan": ("Tencent/SelfEvolvingAgent, VScan", "MIT", READ),
}
WITHOUT = {  # pipelines that have no original
    *("random", "uniform", "pool", "none", "region", "downsample"),
    *("hybrid_windows",),
}
