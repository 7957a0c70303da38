"""Projects, applications, eligibility, awards, allocations."""
