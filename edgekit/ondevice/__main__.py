"""Starts the agent: `python3 FOLDER`, where FOLDER is this one, or what of it was sent to a device."""

from agent.main import main

main()
