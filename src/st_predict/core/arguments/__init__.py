"""What arguments may be: kinds of values, the kind of every argument, and the check at each public door."""
