from starloom.cli import main

main()
