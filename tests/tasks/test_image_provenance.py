import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import ExifTags, Image

from tasks.image_provenance import (
    DIGITAL_SOURCE_TYPE,
    NAMESPACE,
    Provenance,
    stamp_jpeg,
    stamp_png,
    xmp_packet,
)

HOSTILE = "a <script>alert('1')</script> & [red]dog[/red]\nsecond line\r \U0001f436 \x00\x07"
ABOUT = Provenance("0123abcd", HOSTILE, 2**62 + 1, "models/<toy>", "f" * 64, "a1b2 at 0.8")
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
OWN = f"{{{NAMESPACE}}}"


def encode(kind: str, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels_of(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)))


def properties(packet: bytes) -> dict[str, str | None]:
    """Name -> text of the description's properties, as an XML parser reads them."""
    tree = ElementTree.fromstring(packet)
    description = next(tree.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"))
    return {element.tag: element.text for element in description}


def test_xmp_says_what_iptc_asks_for_and_a_hostile_prompt_stays_text() -> None:
    found = properties(xmp_packet(ABOUT))
    assert found[f"{IPTC}DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert DIGITAL_SOURCE_TYPE.endswith("/trainedAlgorithmicMedia")
    writable = HOSTILE.replace("\x00", "\ufffd").replace("\x07", "\ufffd")
    assert found[f"{IPTC}AIPromptInformation"] == writable
    assert found[f"{IPTC}AISystemUsed"] == "models/<toy>"
    assert found[f"{IPTC}AISystemVersionUsed"] == "f" * 64
    assert found[f"{OWN}sample_id"] == "0123abcd"
    assert found[f"{OWN}seed"] == str(2**62 + 1)
    assert found[f"{OWN}adapter"] == "a1b2 at 0.8"


def test_no_adapter_is_no_element() -> None:
    packet = xmp_packet(Provenance("s", "a dog", 1, "m", "d"))
    assert f"{OWN}adapter" not in properties(packet)


def test_a_png_carries_text_and_xmp_around_the_same_coded_pixels() -> None:
    data = encode("PNG")
    stamped = stamp_png(data, ABOUT)
    assert data[8 + 25 :] in stamped, "all chunks behind the header stay, byte for byte"
    image = Image.open(io.BytesIO(stamped))
    image.load()  # text may stand behind the pixels
    assert image.text["Description"] == HOSTILE.replace("\x00", "\ufffd")
    assert image.text["maskloom:sample_id"] == "0123abcd"
    assert image.text["maskloom:seed"] == str(2**62 + 1)
    assert image.text["maskloom:model"] == "models/<toy>"
    assert image.text["maskloom:digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert properties(image.info["XML:com.adobe.xmp"].encode())[f"{OWN}seed"] == str(2**62 + 1)
    assert np.array_equal(pixels_of(stamped), pixels_of(data))


def test_a_palette_png_keeps_its_palette_and_values() -> None:
    buffer = io.BytesIO()
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    image.putpalette(list(range(256)) * 3)
    image.save(buffer, "PNG")
    stamped = Image.open(io.BytesIO(stamp_png(buffer.getvalue(), ABOUT)))
    assert stamped.mode == "P"
    assert np.array(stamped).tolist() == np.arange(12).reshape(3, 4).tolist()
    assert stamped.getpalette() == image.getpalette()


def test_a_second_stamp_replaces_the_first() -> None:
    other = Provenance("other", "a cat", 2, "m", "d")
    for stamp, data in ((stamp_png, encode("PNG")), (stamp_jpeg, encode("JPEG"))):
        assert stamp(stamp(data, ABOUT), other) == stamp(data, other)
        assert stamp(data, ABOUT) != stamp(data, other)


def test_a_jpeg_carries_exif_and_xmp_around_the_same_pixels() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    data = encode("JPEG", exif=exif)
    stamped = stamp_jpeg(data, ABOUT)
    image = Image.open(io.BytesIO(stamped))
    assert image.getexif()[ExifTags.Base.Orientation] == 6
    assert image.getexif()[ExifTags.Base.DocumentName] == "0123abcd"
    assert HOSTILE.replace("\x00", "\ufffd").encode() in stamped
    assert properties(image.info["xmp"])[f"{IPTC}DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert np.array_equal(pixels_of(stamped), pixels_of(data))


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="not a PNG"):
        stamp_png(encode("JPEG"), ABOUT)
    with pytest.raises(ValueError, match="not a whole PNG: it ends at byte 60"):
        stamp_png(encode("PNG")[:60], ABOUT)
    with pytest.raises(ValueError, match="not a JPEG"):
        stamp_jpeg(encode("PNG"), ABOUT)


def test_a_prompt_longer_than_a_jpeg_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit a JPEG segment"):
        stamp_jpeg(encode("JPEG"), Provenance("s", "x" * 70_000, 1, "m", "d"))
