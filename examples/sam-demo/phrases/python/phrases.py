def say(word, name):
    return f"{word}, {name}!"
