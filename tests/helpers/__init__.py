"""What several tests share: what the machine can do, whom tests run as, what a test may leave behind."""
