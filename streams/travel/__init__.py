"""Time travel: any past moment of the log shown, compared and searched. Shell."""
