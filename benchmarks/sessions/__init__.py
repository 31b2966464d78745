"""How do programs here start the engine: as processes, as sessions of the suites, in pairs?"""
