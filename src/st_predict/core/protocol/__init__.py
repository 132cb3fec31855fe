"""The leak-free protocol: what is held out together, what is fitted without it, how it is scored, what is kept."""
