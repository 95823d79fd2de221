"""Load → decide → append: how a command becomes recorded events, once, on fresh state."""
