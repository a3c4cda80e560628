-- result_collection=last_statement_first_row
create table before as select list(file order by file) as names from glob('./shared/*');
copy (select 'written') to './shared/note' (format csv, header false);
select coalesce(names, []) as before, trim(content, chr(10)) as after from before, read_text('/shared/note')
