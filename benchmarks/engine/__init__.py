"""How fast is the engine, on one node and on several local ones, beside memory and its peers?"""
