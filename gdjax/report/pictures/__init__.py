"""Pictures of one thing each: an axes in, an axes out."""
