"""What do exchanges between ranks cost, and what hides them?"""
