# sandbox {image:bash}
def main():
    return 1
