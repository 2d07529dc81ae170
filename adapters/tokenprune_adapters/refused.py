"""Models of transformers' image-text-to-text mapping that cannot be pruned: model type to the reason, and a way out."""

_ENCODER = (
    "it is an encoder-decoder whose visual tokens run through the text encoder, and it takes no encoded images "
    "(mm_encoder_outputs) of which some could be left out"
)
_SEEN = (
    "its decoder looks at the encoder's output (encoder_hidden_states), as in translation, so that no slot of the "
    "prompt is a visual token; cutting that output is not supported"
)
_QUERIES = (
    "a Q-Former has made a few queries (32 by default) of each image before the language model sees it; they are no "
    "patches and have no place, and its own generate() encodes the image where nothing can be left out"
)
_LATENTS = (
    "it pools each image into a fixed number of latents ({} by default), which are no patches, and takes no encoded "
    "images (mm_encoder_outputs) of which some could be left out"
)

REFUSED = {
    "blip": _SEEN,
    "blip-2": _QUERIES,
    "diffusion_gemma": (
        "it writes by denoising one block of text after the other, in a generate() of its own, which encodes images by "
        "itself, and hands encoded ones (mm_encoder_outputs) to every later block again, where no slot takes them"
    ),
    "evolla": "it reads proteins, and no images",
    "florence2": _ENCODER,
    "git": (
        "it puts the image in front of the text by itself, without placeholders, so that no slot of the prompt is a "
        "visual token that could be left out"
    ),
    "idefics": (
        "its vision encoder and the layers that look at images are one module, which takes whole images and makes the "
        "mask over them by itself. Idefics3, which has placeholders, can be pruned"
    ),
    "instructblip": _QUERIES,
    "instructblipvideo": _QUERIES,
    "kosmos-2": _LATENTS.format(64),
    "kosmos-2.5": _LATENTS.format(2048),
    "mistral4": "it is a language model without a vision encoder",
    "pi0": "it answers with the actions of a robot, and has no generate()",
    "pix2struct": _SEEN,
    "pp_formulanet": _SEEN,
    "t5gemma2": _ENCODER,
    "udop": (
        "its encoder merges the patches of a page with the words printed over them, so that a patch is no token of its "
        "own, and it takes no encoded images (mm_encoder_outputs) of which some could be left out"
    ),
    "vision-encoder-decoder": _SEEN,
}
