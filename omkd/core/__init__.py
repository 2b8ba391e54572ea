"""Pure: facts in, decisions out. No I/O, no trio, no clock: clock values are passed in."""
