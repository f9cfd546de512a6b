"""What a run says of itself: overlays, curves and one page that opens by itself."""
