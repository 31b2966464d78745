"""How well are emulated links and boards kept on this machine?"""
