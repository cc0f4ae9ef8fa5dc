"""The one place where bytes from strangers become pictures, sounds, video frames and lines of text.

Every reader takes a path, ``"-"`` (stdin), or bytes; looks at the header with its own few lines of
code and checks the limits *before* a library decodes anything; and either answers or raises one
InputError that names the source and the place. Only regular files and stdin are read: a named pipe
without a writer would hang, a device never ends.

    picture = read_picture("photo.jpg")          # picture.rgb: (H, W, 3) uint8, upright
    sound = read_sound("talk.flac", rate=16000)  # sound.samples: (N,) float32, mono
    for block in text_blocks("-"): ...           # lists of Line, as the bytes arrive
    for item in expand_inputs(["scans/", "*.png"], suffixes=PICTURES): ...

cv2, soundfile and soxr are imported when they are first needed, and what they print on stderr is
caught.
"""

from cnnapps.core.media._inputs import PICTURES, SOUNDS, TEXTS, VIDEOS, Input, expand_inputs
from cnnapps.core.media._packed import DAMAGED, HEAD, unpacked_name, unpacker
from cnnapps.core.media._pictures import Picture, read_pages, read_picture, write_picture
from cnnapps.core.media._sound import Sound, SoundBlocks, read_sound, sound_blocks
from cnnapps.core.media._source import Source, open_source, read_bytes
from cnnapps.core.media._text import Line, refuse_no_text, text_blocks
from cnnapps.core.media._video import Frame, VideoFrames, video_frames

__all__ = [
    "DAMAGED",
    "HEAD",
    "PICTURES",
    "SOUNDS",
    "TEXTS",
    "VIDEOS",
    "Frame",
    "Input",
    "Line",
    "Picture",
    "Sound",
    "SoundBlocks",
    "Source",
    "VideoFrames",
    "expand_inputs",
    "open_source",
    "read_bytes",
    "read_pages",
    "read_picture",
    "read_sound",
    "refuse_no_text",
    "sound_blocks",
    "text_blocks",
    "unpacked_name",
    "unpacker",
    "video_frames",
    "write_picture",
]
