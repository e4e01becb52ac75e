"""Draws docs/models/*.svg, the networks as rows of feature maps: `python docs/diagrams.py`.

A box is a feature map: the height shows the map's side, the width its number of channels, both on a
root scale. The shapes come from the network itself, through `jaxseg.features`, so the picture
cannot differ from the code.
"""

import pathlib

import jax
import jax.numpy as jnp

import jaxseg

OUT = pathlib.Path(__file__).parent / "models"
COLOURS = {"encoder": "#4c78a8", "context": "#f58518", "decoder": "#54a24b", "logits": "#e45756"}
MIDDLE, GAP = 118, 13

# network, side of the image, (layer, label, kind) from left to right
NETWORKS = {
    "fcn": (
        ("fcn8s_vgg16", {}, 500),
        [
            ("pool1", "pool1", "encoder"),
            ("pool2", "pool2", "encoder"),
            ("pool3", "pool3", "encoder"),
            ("pool4", "pool4", "encoder"),
            ("pool5", "pool5", "encoder"),
            ("fc6", "fc6", "encoder"),
            ("fc7", "fc7", "encoder"),
            ("score_fr", "score_fr", "logits"),
            ("fuse_pool4", "fuse_pool4", "logits"),
            ("fuse_pool3", "fuse_pool3", "logits"),
            (None, "×8 bilinear", "logits"),
        ],
        [("pool4", "fuse_pool4", "score_pool4"), ("pool3", "fuse_pool3", "score_pool3")],
    ),
    "deconvnet": (
        ("deconvnet_vgg16", {}, 224),
        [
            *((f"pool{i}", f"pool{i}", "encoder") for i in range(1, 6)),
            ("fc6", "fc6", "encoder"),
            ("fc7", "fc7", "encoder"),
            ("fc6_deconv", "fc6_deconv", "decoder"),
            *((f"unpool{i}", f"unpool{i}", "decoder") for i in range(5, 0, -1)),
            (None, "score", "logits"),
        ],
        [(f"pool{i}", f"unpool{i}", f"argmax {i}") for i in range(1, 6)],
    ),
    "pspnet": (
        ("pspnet_resnet50", {}, 473),
        [
            ("backbone/pool", "stem", "encoder"),
            ("backbone/layer1", "stage 1", "encoder"),
            ("backbone/layer2", "stage 2", "encoder"),
            ("backbone/layer3", "stage 3", "encoder"),
            ("backbone/layer4", "stage 4", "encoder"),
            ("level1_pooled", "1×1", "context"),
            ("level2_pooled", "2×2", "context"),
            ("level3_pooled", "3×3", "context"),
            ("level6_pooled", "6×6", "context"),
            ("head/conv", "head/conv", "decoder"),
            ("head/score", "score", "logits"),
            (None, "to the image", "logits"),
        ],
        [
            ("backbone/layer4", "head/conv", "features"),
            *((f"level{i}_pooled", "head/conv", None) for i in (1, 2, 3, 6)),
        ],
    ),
}


def shapes(name: str, fields: dict, side: int) -> dict[str, tuple[int, int]]:
    """Returns (side, channels) of every layer, without computing a forward pass."""
    model = jaxseg.create_model(name, 21, **fields)
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    maps = jax.eval_shape(lambda v, x: jaxseg.features(model, v, x), variables, images)
    return {layer: (map.shape[1], map.shape[3]) for layer, map in maps.items() if map.ndim == 4}


def draw(title: str, network, layers, links) -> str:
    known = shapes(*network)
    side = network[2]
    x, parts, centres = 16, [], {}
    for row, (layer, label, kind) in enumerate(layers):
        size, channels = known[layer] if layer else (side, 21)
        height, width = 8 + 5.6 * size**0.5, 5 + 0.62 * channels**0.5
        top = MIDDLE - height / 2
        parts.append(
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2" '
            f'fill="{COLOURS[kind]}"><title>{label}: {size}×{size}×{channels}</title></rect>'
        )
        middle = x + width / 2
        centres[layer] = middle
        y = 226 + 29 * (row % 3)
        parts.append(f'<text x="{middle:.1f}" y="{y}">{label}</text>')
        parts.append(f'<text x="{middle:.1f}" y="{y + 12}" class="s">{size}²·{channels}</text>')
        x += max(width, 34) + GAP
    for rank, (start, end, label) in enumerate(links):
        a, b, y = centres[start], centres[end], 40 - (14 if len(links) < 5 else 6) * rank
        parts.append(f'<path d="M{a:.1f} {y + 12:.1f} V{y:.1f} H{b:.1f} V{y + 12:.1f}"/>')
        if label and len(links) < 5:
            parts.append(f'<text x="{(a + b) / 2:.1f}" y="{y - 3:.1f}" class="s">{label}</text>')
    width = x + 10
    style = (
        "text{font:11px system-ui,sans-serif;text-anchor:middle;fill:#667}"
        ".s{font-size:9px}path{fill:none;stroke:#889;stroke-width:1.2}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} 304" role="img">'
        f"<title>{title}</title><style>{style}</style>{''.join(parts)}</svg>\n"
    )


if __name__ == "__main__":
    for name, (network, layers, links) in NETWORKS.items():
        (OUT / f"{name}.svg").write_text(draw(network[0], network, layers, links), encoding="utf-8")
