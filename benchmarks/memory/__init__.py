"""What one large message takes in memory, on its way in and out."""
