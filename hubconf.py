"""``torch.hub.load("sslzoo/sslzoo", "encoder", "hf-hub:org/name", trust_repo=True)``.

torch.hub puts this folder on the path without installing anything, so no plugin can be found here. None is needed: what
sslzoo publishes is a plain timm encoder.
"""

dependencies = ["torch", "timm", "huggingface_hub", "safetensors"]


def encoder(name, token=None):  # type: ignore[no-untyped-def]
    """A pretrained encoder on the CPU and in eval(): images (B, C, H, W) to features (B, encoder.num_features).

    It is a timm model. The images' size, mean and standard deviation are in ``encoder.pretrained_cfg``. Weights are
    read from safetensors, never unpickled, and checked against their recorded checksum and forward fingerprint.

    Args:
        name: a run folder, an encoder folder, "hf-hub:org/name", "hf-hub:org/name@revision" (downloaded once, then
            read from the Hugging Face cache), or "random:ARCH" for an untrained encoder.
        token: for a private repository; the saved login of huggingface_hub if not given.

    Example:
        >>> encoder = torch.hub.load("sslzoo/sslzoo", "encoder", "hf-hub:org/rotation_resnet50", trust_repo=True)
        >>> features = encoder(images)
    """
    from sslzoo.hub.load import load_encoder

    return load_encoder(name, token=token)
