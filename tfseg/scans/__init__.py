"""What scanners write beside pictures: NIfTI volumes, DICOM and video, read frame by frame, and masks written back."""
