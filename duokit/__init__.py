"""duokit: learn, check and apply Asymmetric Duos."""
