"""What reads a video is told once how much to say, before any test opens one."""

import tfseg.scans.video  # noqa: F401
