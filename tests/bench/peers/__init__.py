"""What else one might have built: small, honest programs that do the same with less promised."""
