"""What the runners of the SQL languages share; each language adds its driver.

It reads a script's comments (`declarations`), splits it into statements (`lexer`), puts names into
it (`interpolation`), finds out which database is meant (`databases`), gathers the rows (`collect`)
and talks to jobinit (`handover`). `run` tells the story of one job. Nothing here knows a driver.
"""
