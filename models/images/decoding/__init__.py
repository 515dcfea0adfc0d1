"""The program of a decoding child: it imports Pillow and nothing else of Darkroom, and has no secrets."""
