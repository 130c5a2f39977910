"""What makes a run and measures it: its stages in their order, selection, result, bars, the matrix of runs."""
