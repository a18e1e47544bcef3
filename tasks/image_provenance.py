"""Where a picture comes from, written into the picture: PNG text, Exif and XMP.

The coded pixels are never touched: chunks and segments are added around them. The XMP says what
IPTC's vocabulary has words for, that the picture is trained algorithmic media, by which system and
from which prompt (IPTC Photo Metadata Standard 2025.1), and the rest in a namespace of its own. A
picture that is stamped again carries the last stamp only. Imports no torch.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, unescape

from PIL import ExifTags, Image

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media made by a trained model."""
NAMESPACE = "urn:maskloom:provenance/1.0/"
"""Of what IPTC's vocabulary has no words for."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP_KEYWORD = "XML:com.adobe.xmp"
_PNG_KEYWORDS = {
    "sample_id": "maskloom:sample_id",
    "prompt": "Description",
    "seed": "maskloom:seed",
    "model": "maskloom:model",
    "model_digest": "maskloom:model_digest",
    "adapter": "maskloom:adapter",
}
_DIGITAL_SOURCE_KEYWORD = "maskloom:digital_source_type"
_EXIF_HEADER = b"Exif\0\0"
_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_MOST_IN_A_SEGMENT = 65_533
"""Bytes of a JPEG segment behind its length of 16 bits."""
_XMP_SAMPLE_ID = re.compile("<maskloom:sample_id>(.*?)</maskloom:sample_id>", re.DOTALL)
# What XML 1.0 has no way to write: control characters, surrogates, two non-characters.
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Provenance:
    """What made a picture.

    Attributes:
        sample_id: of ``data/samples/index.parquet``.
        prompt: its text, as it was given to the model.
        seed: of the sample's generator.
        model: path or id of the base model.
        model_digest: SHA-256 of the base model; None where it is not known any more.
        adapter: digest and scale of the LoRA, such as ``"3f2a... at 0.8"``; None without one.
    """

    sample_id: str
    prompt: str
    seed: int
    model: str
    model_digest: str | None
    adapter: str | None = None


def xmp_packet(about: Provenance) -> bytes:
    """The XMP packet, UTF-8; every value is escaped, and what XML cannot write becomes U+FFFD."""
    own = {
        "sample_id": about.sample_id,
        "seed": str(about.seed),
        "model": about.model,
        "model_digest": about.model_digest,
        "adapter": about.adapter,
    }
    lines = [
        f"   <maskloom:{name}>{_text(value)}</maskloom:{name}>"
        for name, value in own.items()
        if value is not None
    ]
    version = "AISystemVersionUsed"
    if about.model_digest is not None:
        digest = _text(about.model_digest)
        lines.insert(0, f"   <Iptc4xmpExt:{version}>{digest}</Iptc4xmpExt:{version}>")
    prompt = _text(about.prompt)
    packet = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:maskloom="{NAMESPACE}">
   <dc:description>
    <rdf:Alt><rdf:li xml:lang="x-default">{prompt}</rdf:li></rdf:Alt>
   </dc:description>
   <Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
   <Iptc4xmpExt:AISystemUsed>{_text(about.model)}</Iptc4xmpExt:AISystemUsed>
   <Iptc4xmpExt:AIPromptInformation>{prompt}</Iptc4xmpExt:AIPromptInformation>
{chr(10).join(lines)}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""
    return packet.encode()


def stamp_png(data: bytes, about: Provenance) -> bytes:
    """A PNG with its provenance as text chunks and XMP; all its other chunks stay as they are.

    Raises:
        ValueError: ``data`` is no whole PNG.
    """
    values = {word: getattr(about, name) for name, word in _PNG_KEYWORDS.items()}
    values[_DIGITAL_SOURCE_KEYWORD] = DIGITAL_SOURCE_TYPE
    stamps = [_international_text(_XMP_KEYWORD, xmp_packet(about))]
    stamps += [
        _international_text(word, str(value).replace("\0", "\ufffd").encode("utf-8", "replace"))
        for word, value in values.items()
        if value is not None
    ]
    ours = {_XMP_KEYWORD, _DIGITAL_SOURCE_KEYWORD, *_PNG_KEYWORDS.values()}
    parts = [_PNG_SIGNATURE]
    for kind, chunk in _png_chunks(data):
        if kind in (b"iTXt", b"tEXt", b"zTXt"):
            keyword = chunk[8:].split(b"\0", 1)[0].decode("latin-1")
            if keyword in ours:
                continue
        parts.append(chunk)
        if kind == b"IHDR":  # it comes first; text may follow anywhere
            parts += stamps
    return b"".join(parts)


def stamp_jpeg(data: bytes, about: Provenance) -> bytes:
    """A JPEG with its provenance as Exif and XMP; orientation and other Exif entries are kept.

    Raises:
        ValueError: ``data`` is no JPEG, or the provenance is longer than a segment holds.
    """
    old, rest = _jpeg_metadata(data)
    exif = Image.Exif()
    if old is not None:
        exif.load(old)
    exif[ExifTags.Base.ImageDescription] = about.prompt.replace("\0", "\ufffd").encode(
        "utf-8", "replace"
    )
    exif[ExifTags.Base.DocumentName] = about.sample_id
    stamps = _segment(exif.tobytes()) + _segment(_XMP_HEADER + xmp_packet(about))
    return b"\xff\xd8" + stamps + rest


def sample_id_of(path: Path) -> str | None:
    """The sample that an exported image file says it is of; None where it says nothing.

    Raises:
        OSError: it is no PNG or JPEG.
    """
    with Image.open(path, formats=("PNG", "JPEG")) as image:
        packet = image.info.get(_XMP_KEYWORD) or image.info.get("xmp") or b""
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else packet
    found = _XMP_SAMPLE_ID.search(text)
    return unescape(found[1]) if found else None


def _text(value: str) -> str:
    return escape(_NO_XML.sub("\ufffd", value), {"\r": "&#13;"})


def _international_text(keyword: str, text: bytes) -> bytes:
    """An uncompressed iTXt chunk (PNG, third edition, section 11.3.3.4)."""
    body = b"iTXt" + keyword.encode("latin-1") + b"\0\0\0\0\0" + text
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and all bytes of each chunk, to the end of the file."""
    if not data.startswith(_PNG_SIGNATURE):
        raise ValueError("not a PNG: it does not begin with PNG's signature")
    at = len(_PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        size = int.from_bytes(data[at : at + 4], "big") + 12
        if at + size > len(data):
            raise ValueError(f"not a whole PNG: it ends at byte {len(data)}, before its IEND chunk")
        kind = data[at + 4 : at + 8]
        yield kind, data[at : at + size]
        at += size


def _jpeg_metadata(data: bytes) -> tuple[bytes | None, bytes]:
    """The Exif block, if there is one, and all that follows SOI but for Exif and XMP."""
    if not data.startswith(b"\xff\xd8\xff"):
        raise ValueError("not a JPEG: it does not begin with SOI")
    old, kept, at = None, [], 2
    while data[at : at + 1] == b"\xff" and data[at + 1] & 0xF0 == 0xE0:  # APP0 to APP15
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : end]
        if body.startswith(_EXIF_HEADER):
            old = body
        elif not body.startswith(_XMP_HEADER):
            kept.append(data[at:end])
        at = end
    return old, b"".join(kept) + data[at:]


def _segment(body: bytes) -> bytes:
    if len(body) > _MOST_IN_A_SEGMENT:
        raise ValueError(
            f"{len(body)} bytes of provenance do not fit a JPEG segment of {_MOST_IN_A_SEGMENT}; "
            "export as PNG"
        )
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
