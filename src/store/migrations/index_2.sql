-- Events that cannot be read are in it too, by the ids in their bytes: it is made anew.
delete from touched;
delete from reached;
