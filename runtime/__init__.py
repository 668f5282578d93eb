"""What a deployed system needs: data, preprocessing, sessions, ranking, metrics. Never imports torch."""
