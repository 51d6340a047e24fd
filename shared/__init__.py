"""What more than one service uses: contracts, the turn queue, the run log and the plumbing of a process."""
