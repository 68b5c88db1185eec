"""What tests of sslzoo and of its plugins share."""
