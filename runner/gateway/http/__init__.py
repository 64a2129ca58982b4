"""What HTTP is for the gateway: who gets in, what is read and answered. Knows no route."""
