"""What was asked: config.json, checked. Pure; `load` is the door, and the only name others need."""
