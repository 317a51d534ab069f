"""The sound of a video beside its frames in another file: copied, or as AAC where the file cannot hold it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mien.errors import MienError

if TYPE_CHECKING:
    from av.packet import Packet

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
USUAL_RATE = 44100


class Sound:
    """Takes packets of one stream, and gives those that go into the other file.

    Args:
        container: Where they go, of PyAV.
        source: The stream they come from.

    Raises:
        MienError: it can neither be copied nor decoded.
    """

    def __init__(self, container: Any, source: Any) -> None:
        import av

        context = source.codec_context
        self._error: type[Exception] = av.FFmpegError
        self._resampler: Any = None
        self._last: int | None = None
        if context is not None and context.name in container.supported_codecs:
            self._stream = container.add_stream_from_template(source)
            return
        if context is None or not context.rate:
            raise MienError("the sound is in a format that this PyAV cannot decode; add --no-sound")
        rate = context.rate if context.rate in AAC_RATES else USUAL_RATE
        layout = "mono" if context.layout.nb_channels == 1 else "stereo"
        self._stream = container.add_stream("aac", rate=rate, layout=layout)
        self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)

    def take(self, packet: "Packet[Any]") -> "Iterator[Packet[Any]]":
        """What the file gets of a packet: nothing where it cannot be decoded or its time goes back."""
        if self._resampler is None:
            if packet.dts is not None and (self._last is None or packet.dts > self._last):
                self._last, packet.stream = packet.dts, self._stream
                yield packet
            return
        try:
            for decoded in packet.decode():
                yield from self._encoded(decoded)
        except self._error:  # a gap in the sound is no reason to lose the frames
            return

    def rest(self) -> "Iterator[Packet[Any]]":
        """What was not given yet."""
        if self._resampler is not None:
            yield from self._encoded(None)
            yield from self._stream.encode(None)

    def _encoded(self, decoded: Any) -> "Iterator[Packet[Any]]":
        for part in self._resampler.resample(decoded):
            if self._last is not None and part.pts is not None:
                part.pts = max(part.pts, self._last)
            self._last = None if part.pts is None else part.pts + part.samples
            yield from self._stream.encode(part)
