"""Which tracks show the same vehicle: identities over cameras."""
