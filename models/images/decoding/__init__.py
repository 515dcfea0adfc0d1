"""What runs in a decoding child: it imports Pillow and nothing of Darkroom's, and has nothing to lose."""
