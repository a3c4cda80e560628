select sleep(60)
