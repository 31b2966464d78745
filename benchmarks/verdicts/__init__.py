"""How often are verdicts and alarms right: simulated, and by real pairs?"""
