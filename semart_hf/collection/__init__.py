"""A model meets a catalogue at work: suggest, review, audit, search."""
