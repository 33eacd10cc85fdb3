"""edgekit's nouns: frozen values without I/O."""
