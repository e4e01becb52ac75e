"""The model card of a network: description, classes, metrics, and use."""

import json

from jaxseg.pretrained.folder import JaxsegFile

_LICENCES = {"Apache-2.0": "apache-2.0", "BSD-3-Clause": "bsd-3-clause", "MIT": "mit"}


def model_card(file: JaxsegFile, repository: str) -> str:
    """Creates the card of a network's folder: Markdown, preceded by the Hub's metadata.

    Args:
      file: from `read_folder`.
      repository: owner/name on the Hub.
    """
    source = file.source
    licence = source.get("licence")
    metrics = source.get("metrics") or {}
    data = source.get("data_set")
    metadata = {
        "library_name": "jaxseg",
        "pipeline_tag": "image-segmentation",
        "tags": ["jax", "flax", "semantic-segmentation", file.name],
        "license": _LICENCES.get(str(licence), "other"),
    }
    if metadata["license"] == "other" and licence:
        metadata["license_name"] = licence
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in metadata.items()), "---", ""]
    lines += [f"# {repository.rpartition('/')[2]}", ""]
    lines += [
        f"`{file.name}` of [jaxseg](https://pypi.org/project/jaxseg/), a network that assigns "
        f"each pixel of an image one of {file.model.num_classes} classes.",
        "",
    ]
    rows = {
        "data": data,
        "trained on": source.get("trained_on"),
        "licence": licence,
        "made from": source.get("file"),
        "address": source.get("url"),
        "SHA-256": source.get("sha256"),
    }
    rows |= {name.replace("_", " "): f"{value:.4f}" for name, value in metrics.items()}
    lines += ["| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows.items() if value is not None]
    lines += ["", "## Use", "", "```python", "import jaxseg", ""]
    lines += [f'network = jaxseg.load("hf://{repository}")']
    lines += ['labels = network.predict("street.jpg")  # the class of each pixel, uint8 [H, W]']
    lines += ["```", "", "```bash"]
    lines += [f"python -m jaxseg predict --weights hf://{repository} street.jpg", "```", ""]
    if file.info is not None:
        lines += ["## Classes", ""]
        lines += [f"{i}. {name}" for i, name in enumerate(file.info.class_names)]
        lines += [""]
    return "\n".join(lines)
