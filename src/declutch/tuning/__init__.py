"""Search for an edit that helps this model, and the proof of it on prompts not searched on."""
