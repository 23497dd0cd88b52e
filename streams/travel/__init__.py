"""Time travel: any past moment of the log shown, compared, searched, explained and checked. Shell."""
