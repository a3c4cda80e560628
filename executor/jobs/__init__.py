"""What must survive a crash: jobs, their arguments, results and logs; and what is live of them here."""
