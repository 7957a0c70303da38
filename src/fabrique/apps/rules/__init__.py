"""Rules of the decision, adopted by two people; and the replays that an operator asks for before proposing any."""
