"""From configurations to text, and from text to vectors."""
