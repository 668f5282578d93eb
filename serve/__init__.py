"""The service behind `reid-serve`: one session and one gallery, asked by many clients over HTTP."""
