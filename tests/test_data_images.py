"""Decoding: every kind of picture becomes the channels that were asked for, and every broken file one line."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import encoded
from PIL import Image

from sslzoo.config import UserError
from sslzoo.data.images import decode_image, image_size, picture_extensions, with_channels
from sslzoo.data.source import Unreadable

RED = (255, 0, 0)


def red_square(mode: str) -> Image.Image:
    image = Image.new("RGB", (4, 4), RED)
    return image.convert(mode)


def half_transparent(mode: str) -> bytes:
    """Left opaque red (or dark grey), right fully transparent."""
    image = Image.new("RGBA", (4, 2), (*RED, 255))
    image.paste((0, 0, 255, 0), (2, 0, 4, 2))
    if mode == "P":
        paletted = Image.new("P", (4, 2), 0)
        paletted.putpalette([*RED, 0, 0, 255])
        paletted.paste(1, (2, 0, 4, 2))
        return encoded(paletted, transparency=1)
    if mode in {"RGB", "L"}:
        opaque = image.convert("RGB").convert(mode)
        return encoded(opaque, transparency=opaque.getpixel((3, 0)))
    return encoded(image.convert(mode))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_transparent_pictures_are_laid_on_white(mode: str) -> None:
    image = decode_image(half_transparent(mode), "x")
    rgb, grey = with_channels(image, 3), with_channels(image, 1)
    assert (rgb.mode, grey.mode) == ("RGB", "L")
    assert rgb.getpixel((3, 0)) == (255, 255, 255)
    assert grey.getpixel((3, 0)) == 255
    assert rgb.getpixel((0, 0)) == (RED if mode in {"RGBA", "P", "RGB"} else (76, 76, 76))
    assert grey.getpixel((0, 0)) == 76


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    image = with_channels(Image.new("RGBA", (1, 1), (0, 100, 200, 128)), 3)
    assert np.abs(np.subtract(image.getpixel((0, 0)), (127, 177, 227))).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_four_channels_keep_alpha(mode: str) -> None:
    image = with_channels(decode_image(half_transparent(mode), "x"), 4)
    assert image.mode == "RGBA"
    assert [image.getpixel((x, 0))[3] for x in (0, 3)] == [255, 0]


@pytest.mark.parametrize("mode", ["RGB", "P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"])
def test_colour_modes_become_rgb_and_grey(mode: str) -> None:
    image = lab_red() if mode == "LAB" else red_square(mode)
    rgb, grey = with_channels(image, 3), with_channels(image, 1)
    assert (rgb.mode, grey.mode) == ("RGB", "L")
    assert np.abs(np.subtract(rgb.getpixel((0, 0)), RED)).max() <= 5
    assert abs(grey.getpixel((0, 0)) - 76) <= 3


def lab_red() -> Image.Image:
    from PIL import ImageCms

    profiles = [ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")]
    return ImageCms.profileToProfile(red_square("RGB"), *profiles, outputMode="LAB")


def test_grey_and_black_and_white_become_rgb() -> None:
    assert with_channels(Image.new("L", (1, 1), 7), 3).getpixel((0, 0)) == (7, 7, 7)
    assert with_channels(Image.new("1", (1, 1), 1), 3).getpixel((0, 0)) == (255, 255, 255)
    assert with_channels(Image.new("La", (1, 1), (7, 255)), 1).getpixel((0, 0)) == 7


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_down_not_clipped(format: str) -> None:
    ramp = Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=np.uint16))
    image = with_channels(decode_image(encoded(ramp, format), "x"), 1)
    assert list(np.asarray(image)[0]) == [0, 1, 128, 255]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_pictures_stand_as_their_exif_says(format: str) -> None:
    image = Image.new("RGB", (16, 8), "white")
    image.paste("black", (0, 0, 8, 8))  # left half
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    turned = decode_image(encoded(image, format, exif=exif), "x")
    assert turned.size == (8, 16)
    assert max(turned.getpixel((4, 2))) < 50
    assert min(turned.getpixel((4, 13))) > 200


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_decoded_picture_without_decoding_it(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encoded(Image.effect_noise((160, 80), 99), "JPEG", exif=exif)
    assert image_size(raw, "x") == decode_image(raw, "x").size
    assert image_size(raw[: len(raw) // 2], "x") == image_size(raw, "x")
    with pytest.raises(Unreadable):
        decode_image(raw[: len(raw) // 2], "x")
    with pytest.raises(Unreadable, match="^x: not a picture"):
        image_size(raw[10:], "x")


def test_broken_exif_does_not_spoil_a_picture() -> None:
    corrupt = bytes.fromhex("457869660000 49492a0008000000 0200 1201030001000000 06000000 0f010200 ffff0000 0600f000")
    assert decode_image(encoded(Image.new("RGB", (16, 8)), "JPEG", exif=corrupt), "x").size == (8, 16)


BROKEN = {
    "empty": b"",
    "garbage": b"this is no picture" * 20,
    "truncated": encoded(Image.effect_noise((64, 64), 50))[:600],
    "header only": encoded(Image.new("RGB", (8, 8)), "JPEG")[:20],
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_with_a_reason_that_never_changes(raw: bytes) -> None:
    reasons = []
    for _ in range(2):
        with pytest.raises(Unreadable, match=r"^cats/1\.png: .{8,}") as caught:
            decode_image(raw, "cats/1.png")
        reasons.append(str(caught.value))
    assert reasons[0] == reasons[1]
    assert "0x" not in reasons[0] and "\n" not in reasons[0]


def test_a_file_that_is_gone_is_unreadable_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="^x: No such file or directory$"):
        decode_image(tmp_path / "gone.png", "x")


def test_a_picture_too_large_to_be_one_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(Unreadable, match="x: Image size"):
        decode_image(encoded(Image.new("L", (20, 20))), "x")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO", "TGA", "AVIF"])
def test_whatever_is_wrong_with_a_file_it_is_unreadable_or_a_picture(format: str) -> None:
    rng = random.Random(0)
    whole = encoded(Image.effect_noise((16, 16), 90).convert("RGB"), format)
    for _ in range(60):
        raw = bytearray(whole)
        for _ in range(rng.choice([1, 5, 50])):
            raw[rng.randrange(min(len(raw), 200))] = rng.randrange(256)
        try:
            image = decode_image(bytes(raw), "x")
        except Unreadable:
            continue
        for channels in (1, 3, 4):
            with_channels(image, channels)


def test_arrays_become_tensors_with_channels_first() -> None:
    array = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
    tensor = with_channels(array, 5)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == (5, 2, 3)
    assert tensor[4, 1, 2] == array[1, 2, 4]
    assert with_channels(array[:, :, 0], 1).shape == (1, 2, 3)


def test_tensors_have_channels_first_already() -> None:
    tensor = torch.arange(30, dtype=torch.uint8).reshape(5, 2, 3)
    assert torch.equal(with_channels(tensor, 5), tensor)
    with pytest.raises(UserError, match="5 channels, not 3"):
        with_channels(tensor, 3)


def test_a_wrong_number_of_channels_names_both() -> None:
    with pytest.raises(UserError, match="have 5 channels, not 3: use --channels 5"):
        with_channels(np.zeros((2, 2, 5), np.uint8), 3)
    with pytest.raises(UserError, match="have 3 channels and can be given 1, 3 or 4, not 6"):
        with_channels(Image.new("RGB", (2, 2)), 6)
    with pytest.raises(UserError, match="uint8, not .* float32"):
        with_channels(np.zeros((2, 2, 3), np.float32), 3)


def test_only_files_that_pillow_itself_decodes_count_as_pictures() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".gif"} <= picture_extensions()
    assert not {".eps", ".ps", ".pdf", ".mpg", ".h5", ".txt"} & picture_extensions()
    with pytest.raises(Unreadable):
        decode_image(encoded(Image.new("RGB", (8, 8)), "EPS"), "x")
